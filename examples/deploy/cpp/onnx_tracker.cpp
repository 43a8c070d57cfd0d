// Follow one object through a video with an exported network: ONNX Runtime and OpenCV.
//
//     onnx_tracker model clip.mp4 295,12,300,227 boxes.txt
//
// The same as ../onnx_tracker.py, step by step. model is a folder that tracking/export.py has written.

#include <onnxruntime_cxx_api.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <iostream>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <opencv2/videoio.hpp>
#include <stdexcept>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

namespace {

using Box = std::array<double, 4>;  // x, y, width, height in pixels

constexpr int kFormat = 1;            // of the metadata
constexpr double kClipMargin = 10.0;  // pixels: a box stays at least this large and this far inside the image
constexpr double kMostTimes = 10.0;   // a first box is at most so many times as wide and as high as the image

struct Region {  // of a template or a search crop
    int size = 0;
    double factor = 0.0;
};

struct Settings {
    Region search, templates;
    int number = 0, bins = 0, update_interval = 0;
    double update_threshold = 0.0, score_bias = 0.0;
    std::string sequence_format;
    std::vector<double> score_weights;
    std::vector<std::pair<double, double>> score_points;

    explicit Settings(const std::string& json) {
        const cv::FileStorage file(json, cv::FileStorage::READ | cv::FileStorage::MEMORY | cv::FileStorage::FORMAT_JSON);
        if (static_cast<int>(file["format_version"]) != kFormat) throw std::runtime_error("metadata of an unknown format");
        search = {static_cast<int>(file["search"]["size"]), static_cast<double>(file["search"]["factor"])};
        templates = {static_cast<int>(file["template"]["size"]), static_cast<double>(file["template"]["factor"])};
        number = static_cast<int>(file["template"]["number"]);
        bins = static_cast<int>(file["bins"]);
        update_interval = static_cast<int>(file["update"]["interval"]);
        update_threshold = static_cast<double>(file["update"]["threshold"]);
        sequence_format = static_cast<std::string>(file["sequence_format"]);
        score_bias = static_cast<double>(file["score"]["bias"]);
        for (const auto& weight : file["score"]["weights"]) score_weights.push_back(static_cast<double>(weight));
        for (const auto& point : file["score"]["points"])
            score_points.emplace_back(static_cast<double>(point[0]), static_cast<double>(point[1]));
    }
};

/// Cut a square around a box and resize it; what is outside the image is black.
/// Returns three planes R, G, B of size * size bytes, and pixels of the crop per pixel of the image.
std::pair<std::vector<std::uint8_t>, double> Crop(const cv::Mat& rgb, const Box& box, const Region& region) {
    const auto [x, y, w, h] = box;
    const int side = static_cast<int>(std::ceil(std::sqrt(w * h) * region.factor));
    if (side < 1) throw std::runtime_error("the box has no area");
    // nearbyint rounds half to even, as Python does.
    const int left = static_cast<int>(std::nearbyint(x + 0.5 * w - side * 0.5));
    const int top = static_cast<int>(std::nearbyint(y + 0.5 * h - side * 0.5));
    // The published tracker pads one pixel too much on the right and at the bottom; its weights expect it.
    const int x0 = std::max(left, 0), x1 = std::min(left + side, rgb.cols) - (left + side >= rgb.cols);
    const int y0 = std::max(top, 0), y1 = std::min(top + side, rgb.rows) - (top + side >= rgb.rows);
    cv::Mat square = cv::Mat::zeros(side, side, CV_8UC3), resized;
    if (x0 < x1 && y0 < y1) {
        rgb(cv::Rect(x0, y0, x1 - x0, y1 - y0)).copyTo(square(cv::Rect(x0 - left, y0 - top, x1 - x0, y1 - y0)));
    }
    cv::resize(square, resized, cv::Size(region.size, region.size));
    const std::size_t area = resized.total();
    std::vector<std::uint8_t> planes(3 * area);
    std::vector<cv::Mat> channels;
    for (int i = 0; i < 3; ++i) channels.emplace_back(region.size, region.size, CV_8UC1, planes.data() + i * area);
    cv::split(resized, channels);
    return {planes, static_cast<double>(region.size) / side};
}

/// Linear interpolation between points in ascending order.
double Interpolate(const std::vector<std::pair<double, double>>& points, double value) {
    if (value <= points.front().first) return points.front().second;
    if (value >= points.back().first) return points.back().second;
    const auto next = std::find_if(points.begin(), points.end(), [&](const auto& point) { return point.first > value; });
    const auto [a, low] = *(next - 1);
    const auto [b, high] = *next;
    return low + (high - low) * (value - a) / (b - a);
}

class OnnxTracker {
  public:
    explicit OnnxTracker(const std::string& folder)
        : embed_(Open(folder + "/embed_template.onnx")), step_(Open(folder + "/step.onnx")), settings_(Metadata(step_)) {
        if (Metadata(embed_) != Metadata(step_))
            throw std::runtime_error("embed_template.onnx and step.onnx are of two exports");
    }

    /// Begin with the target's box in an RGB image.
    void Init(const cv::Mat& rgb, const Box& box) {
        const auto [x, y, w, h] = box;
        const bool inside = -w < x && x < rgb.cols && -h < y && y < rgb.rows;  // not so if one is not a number
        if (!inside || !(w > 0 && w <= kMostTimes * rgb.cols && h > 0 && h <= kMostTimes * rgb.rows))
            throw std::runtime_error("the box is outside the image, empty or far too large");
        box_ = box;
        frame_ = 0;
        const std::vector<float> embedded = Embed(rgb);
        templates_.assign(settings_.number, embedded);
    }

    /// Follow the target into the next image: its box, and how likely it is that the box is on it (0 to 1).
    std::pair<Box, double> Update(const cv::Mat& rgb) {
        auto [pixels, scale] = Crop(rgb, box_, settings_.search);
        std::vector<float> known;
        for (const auto& embedded : templates_) known.insert(known.end(), embedded.begin(), embedded.end());
        const std::array<std::int64_t, 3> shape{1, static_cast<std::int64_t>(known.size()) / width_, width_};
        std::array<Ort::Value, 2> inputs{
            Ort::Value::CreateTensor<float>(memory_, known.data(), known.size(), shape.data(), shape.size()),
            ImageTensor(pixels, settings_.search.size)};
        const char* const input_names[] = {"templates", "image"};
        const char* const output_names[] = {"tokens", "likelihoods"};
        auto outputs = step_.Run(Ort::RunOptions{nullptr}, input_names, inputs.data(), 2, output_names, 2);
        const std::int32_t* tokens = outputs[0].GetTensorData<std::int32_t>();
        const float* likelihoods = outputs[1].GetTensorData<float>();

        box_ = BoxInImage(tokens, scale, rgb.size());
        ++frame_;
        const float confidence = 10.0F * (likelihoods[0] + likelihoods[1] + likelihoods[2] + likelihoods[3]);
        const bool due = settings_.number > 1 && frame_ % settings_.update_interval == 0;
        if (due && confidence > settings_.update_threshold) {  // the first stays, the oldest of the others goes
            templates_.erase(templates_.begin() + 1);
            templates_.push_back(Embed(rgb));
        }
        return {box_, Score(likelihoods)};
    }

  private:
    Ort::Session Open(const std::string& path) {
        Ort::SessionOptions options;
        // int8 on processors without VNNI: slower kernels, whose sums do not overflow.
        options.AddConfigEntry("session.x64quantprecision", "1");
        return Ort::Session(environment_, path.c_str(), options);
    }

    static std::string Metadata(Ort::Session& session) {
        Ort::AllocatorWithDefaultOptions allocator;
        const auto text = session.GetModelMetadata().LookupCustomMetadataMapAllocated("seqtrack", allocator);
        if (!text) throw std::runtime_error("not a file of tracking/export.py");
        return text.get();
    }

    Ort::Value ImageTensor(std::vector<std::uint8_t>& pixels, std::int64_t size) {
        const std::array<std::int64_t, 4> shape{1, 3, size, size};
        return Ort::Value::CreateTensor<std::uint8_t>(memory_, pixels.data(), pixels.size(), shape.data(), shape.size());
    }

    std::vector<float> Embed(const cv::Mat& rgb) {
        auto [pixels, scale] = Crop(rgb, box_, settings_.templates);
        Ort::Value image = ImageTensor(pixels, settings_.templates.size);
        const char* const input_name = "image";
        const char* const output_name = "template";
        auto outputs = embed_.Run(Ort::RunOptions{nullptr}, &input_name, &image, 1, &output_name, 1);
        const auto shape = outputs[0].GetTensorTypeAndShapeInfo().GetShape();
        const float* data = outputs[0].GetTensorData<float>();
        width_ = shape[2];
        return std::vector<float>(data, data + shape[1] * shape[2]);
    }

    /// Turn tokens into a box in pixels; float until it is relative to the center of the crop.
    Box BoxInImage(const std::int32_t* tokens, double scale, const cv::Size& image) const {
        const std::string& format = settings_.sequence_format;
        const int shift = format == "whxy" ? 2 : 0;
        std::array<float, 4> values{};
        for (int i = 0; i < 4; ++i) {
            values[(i + shift) % 4] = static_cast<float>(tokens[i]) / static_cast<float>(settings_.bins - 1);
        }
        if (format == "corner") {
            const auto [x0, y0, x1, y1] = values;
            values = {(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0};
        }
        for (float& value : values) {
            value = value * static_cast<float>(settings_.search.size) / static_cast<float>(scale);
        }
        const double cx = values[0], cy = values[1], w = values[2], h = values[3];
        const double half = 0.5 * settings_.search.size / scale;
        const double left = cx + (box_[0] + 0.5 * box_[2] - half) - 0.5 * w;
        const double top = cy + (box_[1] + 0.5 * box_[3] - half) - 0.5 * h;
        const double x0 = std::min(std::max(0.0, left), image.width - kClipMargin);
        const double y0 = std::min(std::max(0.0, top), image.height - kClipMargin);
        const double x1 = std::min(std::max(kClipMargin, left + w), static_cast<double>(image.width));
        const double y1 = std::min(std::max(kClipMargin, top + h), static_cast<double>(image.height));
        return {x0, y0, std::max(kClipMargin, x1 - x0), std::max(kClipMargin, y1 - y0)};
    }

    /// Logistic regression on logarithms of the likelihoods, or a curve behind it.
    double Score(const float* likelihoods) const {
        double mean = 0.0, value = settings_.score_bias;
        for (int i = 0; i < 4; ++i) {
            const double likelihood = std::max<double>(likelihoods[i], 1e-6);
            mean += likelihood / 4;
            value += settings_.score_weights[i + 1] * std::log(likelihood);
        }
        value += settings_.score_weights[0] * std::log(mean);
        if (std::isnan(value)) return 0.0;
        return settings_.score_points.empty() ? 1 / (1 + std::exp(-value)) : Interpolate(settings_.score_points, value);
    }

    Ort::Env environment_{ORT_LOGGING_LEVEL_WARNING, "onnx_tracker"};
    Ort::MemoryInfo memory_ = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    Ort::Session embed_, step_;
    Settings settings_;
    std::vector<std::vector<float>> templates_;  // the first one never changes, the rest is first in, first out
    Box box_{};
    std::int64_t width_ = 0;  // of an embedded token
    int frame_ = 0;
};

bool Read(cv::VideoCapture& capture, cv::Mat& rgb) {
    cv::Mat bgr;
    if (!capture.read(bgr)) return false;
    cv::cvtColor(bgr, rgb, cv::COLOR_BGR2RGB);
    return true;
}

int Track(const std::string& folder, const std::string& video, const std::string& box_text, const std::string& output) {
    Box box{};
    char rest = 0;
    if (std::sscanf(box_text.c_str(), "%lf,%lf,%lf,%lf%c", &box[0], &box[1], &box[2], &box[3], &rest) != 4) {
        throw std::runtime_error(box_text + ": expected x,y,width,height in pixels");
    }
    OnnxTracker tracker(folder);
    cv::VideoCapture capture(video);
    cv::Mat rgb;
    if (!Read(capture, rgb)) throw std::runtime_error(video + ": no frame");
    tracker.Init(rgb, box);
    std::ofstream file(output);
    file.setf(std::ios::fixed);
    file.precision(4);
    double score = 1.0;
    int frames = 0;
    do {
        if (frames++ > 0) std::tie(box, score) = tracker.Update(rgb);
        file << box[0] << ',' << box[1] << ',' << box[2] << ',' << box[3] << ',' << score << '\n';
    } while (Read(capture, rgb));
    const int announced = static_cast<int>(capture.get(cv::CAP_PROP_FRAME_COUNT));  // a guess in some videos
    if (frames < announced - 1) std::cerr << video << ": only " << frames << " of " << announced << " frames: damaged?\n";
    if (!file.flush()) throw std::runtime_error(output + ": cannot be written");
    return frames;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 5) {
        std::cerr << "usage: onnx_tracker MODEL_FOLDER VIDEO X,Y,WIDTH,HEIGHT OUTPUT.txt\n";
        return 2;
    }
    try {
        std::cout << Track(argv[1], argv[2], argv[3], argv[4]) << " frames\n";
    } catch (const std::exception& error) {  // of OpenCV, ONNX Runtime, and this file
        std::cerr << error.what() << '\n';
        return 2;
    }
    return 0;
}
